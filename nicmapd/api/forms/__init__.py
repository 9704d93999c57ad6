"""The JSON that goes in and out: how it is made, what is taken, and the models that describe both to OpenAPI."""
