"""Measurements of speed and memory, as ratios within one run: ``python -m benchmarks``.

===============  ============================================================================
``training``     the training loop against the passes that it must do
``usual``        a step of PGD training as it is usually written, against a step of morex
``peak``         the share of the machine's bfloat16 peak that a training reaches
``weather``      fog and snow for a batch against loops over images
``attacks``      attacks of other libraries against those of morex
``mixture``      ten networks one after another against a mixture of nine with a gate
``memory``       whether the peak memory of a training grows with its length
``serving``      ``morex serve`` under load, against the bare model
``measuring``    how a ratio is measured, and its goal
``passes``       the forward and backward passes that the others compare with
``networks``     the networks and images that they share
``gpu``          the GPU half: ``python -m benchmarks.gpu``
``gpu_steps``    its training steps of morex
``gpu_attacks``  its attacks
``bare``         the same steps written out, called or compiled and captured
===============  ============================================================================
"""
