"""What Weaviate is: REST requests and responses as data, and the synchronous and asynchronous clients over them."""
