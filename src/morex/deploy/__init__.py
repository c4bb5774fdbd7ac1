"""Deployment: a trained model where it is used.

The room may use everything but the command line. Its libraries (extras ``export`` and ``serve``)
are imported inside of functions, so that morex works without them.
"""
