"""Lets ``python -m mailwright`` do what the console script does."""

from mailwright.cli.main import main

if __name__ == "__main__":
    main()
