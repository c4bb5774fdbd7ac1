"""``python -m morex.cli``: the command line without its script."""

from morex.cli.main import main

if __name__ == "__main__":
    main()
