"""What clients meet in place of Google: a proxy that ends TLS, and the services of identity."""
