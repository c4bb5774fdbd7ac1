"""A campaign of faults against morex: kills, signals and damaged files, drawn from a seed.

python -m faults [KIND ...] [--seed N] [--times N] [--out FILE], with scripts/ on PYTHONPATH

============  ===========================================================
``kind``      what a kind of fault is, and what may come of it
``bench``     runs of a small recipe, whole or with a fault in the middle
``server``    the process that starts them quickly
``kills``     SIGKILL at every kind of half-written file, and at any moment
``signals``   SIGINT, SIGTERM and SIGHUP at any moment
``damages``   files that are cut, changed, empty or missing
``table``     what came of all trials, as Markdown
============  ===========================================================

A new kind of fault is a subclass of ``Kind`` and a line in ``KINDS`` of ``__main__``.
"""
