//! Source of the lines of a file, and sink that appends lines to one.
