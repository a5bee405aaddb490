"""The use cases: plain synchronous functions over storage, custody and bus."""
