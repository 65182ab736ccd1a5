//! Nothing here: the tests are in `tests/`, one file a family of programs.
