"""The REST API: rows of the database as JSON. Nothing here calls Nova or the engine."""
