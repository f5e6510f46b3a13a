//! Headgate: the one door through which events enter a company.
