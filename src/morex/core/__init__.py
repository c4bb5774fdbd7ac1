"""What every room of morex uses.

=============  ==========================================================
``files``      files that are either whole or not there; checksums
``seeding``    random generators, derived from a seed and a place
``precision``  which device to compute on, and in which number format
``units``      numbers and words as people read them
=============  ==========================================================
"""
