"""The journal of money. The only package that imports SQLAlchemy."""
