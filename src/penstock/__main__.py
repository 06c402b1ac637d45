"""``python -m penstock``: the command line, where the script is not on the path."""

from penstock.cli.main import main

if __name__ == "__main__":
    main()
