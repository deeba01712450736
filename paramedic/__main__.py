"""`python -m paramedic` is the console script."""

from paramedic.cli import main

if __name__ == "__main__":
    main()
