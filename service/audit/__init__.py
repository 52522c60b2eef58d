"""The trail: who read or exported personal data, who changed accounts, and when."""
