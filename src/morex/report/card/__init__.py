"""The model card of published models: Markdown with metadata, made from a run.

============  =====================================================================
``subject``   what a card is about, beyond what a run knows
``text``      the card
``metadata``  the YAML in front of it, which the Hugging Face hub reads
``tables``    its tables
``audits``    what audits say about the models
``gaps``      what the models were not tested against
============  =====================================================================
"""

from morex.report.card.subject import Subject
from morex.report.card.text import model_card

__all__ = ["Subject", "model_card"]
