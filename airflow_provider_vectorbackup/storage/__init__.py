"""What lies in a location: one file a provider, all behind the protocol in ``store``."""
