"""`python -m rosey_dbsvc`."""

from rosey_dbsvc.cli.app import main

if __name__ == "__main__":
    main()
