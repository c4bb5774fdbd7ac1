"""What all other rooms use.

=================  ==========================================================
``files``          files that are either complete or absent; checksums
``object_store``   objects under a URL that fsspec knows
``file_errors``    why a file cannot be read or written, in words
``checksums``      checksums of tensors
``seeding``        random generators, derived from a seed and a place in the work
``shards``         the part of a batch that a process has, and draws for the whole of it
``stopping``       signals that ask a process to end
``asking``         questions about values, which make an accelerator wait
``precision``      which device to compute on, and in which number format
``determinism``    the same bits from a GPU every time
``threads``        the cores of a machine, and how many threads torch computes with
``number_checks``  that dataclasses are given finite numbers of the declared types
``plain``          objects as plain JSON values, to compare them
``near``           the nearest names to one that is not known
``source_files``   the Python files of which code of the user consists
``snapshots``      imports of these files as they were read
``user_code``      imports what the user names as file.py:name or package.module:name
``version``        the version of the package, installed or not
``units``          numbers and words as people read them
``strict_json``    JSON that a stranger may have written
``trust``          which code may run
=================  ==========================================================
"""
