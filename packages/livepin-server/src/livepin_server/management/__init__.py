"""The private front end: a REST API with OpenAPI, thin over the services."""
