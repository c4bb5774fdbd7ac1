"""Deployment: a trained model where it is used.

The room may use everything but the command line. Its libraries (extras ``export`` and ``serve``)
are optional, so what needs them is imported inside of functions, or in files that are.

===============  ======================================================================
``export``       a model as a file that answers without morex, checked
``graph``        what an exported file computes
``program``      a model as ONNX, or as a program of ``torch.export``
``quantised``    ONNX models in int8
``accuracy``     what a lower precision costs
``runtime``      runs exported files
``quiet``        silences the libraries that export
``errors``       the error about models that cannot be exported
``classify``     what a model predicts for pictures
``serving``      a named model as an application: what ``morex serve`` puts together
``server``       runs an application until a signal, then answers what was accepted
``service``      ``POST /predict``, ``GET /health`` and ``GET /metrics``
``guard``        which hosts and origins are answered, and what is counted
``intake``       what is read from clients, and within which bounds
``worker``       one thread that does together what waits together
``metrics``      what is counted, in the format of Prometheus
``playground``   the page of a server, and what the page asks
``wishes``       what the page asks, checked
``lab``          perturbations and attacks on a picture, with a seed
``views``        what the page shows of a picture
``samples``      pictures to begin with
``lessons``      what a gate takes a picture for
``publication``  what is published of a run: models, figures, recipe and card
``portable``     what leaves this machine without the names of its folders
``push``         writes a publication into a folder, or commits it to the hub
===============  ======================================================================
"""
