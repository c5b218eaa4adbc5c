//! The laws every plugin must keep, with the fakes and builders to test them.
