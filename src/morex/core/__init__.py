"""What every room of morex uses.

=============  ==========================================================
``files``      files that are either whole or not there; checksums
``seeding``    random generators, derived from a seed and a place
``precision``  number formats: which device, and where bfloat16 pays
``units``      quantities as people read them
=============  ==========================================================
"""
