"""The command line: ``morex COMMAND ...``.

===================  ==========================================================================
``main``             the app: its commands, and errors as one message
``options``          the options that several commands share
``demo``             ``morex demo``: a run on embedded images, and its report page
``run``              ``morex run``: train and evaluate everything in a recipe
``watch``            ``morex watch``: follow a run in progress
``plan``             ``morex plan``: what a run would take
``extend``           ``morex extend`` and ``morex shrink``: a mixture with more, or fewer, experts
``sparse``           ``morex sparse``: a mixture that asks only the experts that carry weight
``listings``         ``morex recipes`` and ``morex models``
``table``            ``morex table``: a run's Table 1
``report``           ``morex report``: the page of a run, or of several
``gate``             ``morex gate``: how a gate weights its experts
``evaluate``         ``morex evaluate``: attack a model
``curve``            ``morex curve``: accuracy against strength
``compare``          ``morex compare``: two models on the same images
``audit``            ``morex audit``: does a model hide its gradients?
``predict``          ``morex predict``: classify pictures
``export``           ``morex export``: a model as a file that runs without morex
``serve``            ``morex serve``: answer requests with a model, and show its playground
``push``             ``morex push``: the models of a run on the Hugging Face hub
``load_model``       the model that a user names, with data and attacks for it
``evaluation_work``  the rows of ``morex evaluate``, and the images of each
``extension``        what the options of ``morex extend`` stand for
``output``           lines for people, or one JSON object for programs
``broken_pipe``      the end of a command whose output nobody reads any more
``progress``         how far a command is, and the time left
``progress_lines``   the progress of a run, on a terminal or in a log
``tensorboard``      the progress of trainings, as event files
===================  ==========================================================================

A command's file begins with its signature. PyTorch is imported only inside functions, so that
``morex --help`` starts at once.
"""

from morex.cli.main import main

__all__ = ["main"]
