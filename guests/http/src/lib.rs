//! Sink that posts records to a URL.
