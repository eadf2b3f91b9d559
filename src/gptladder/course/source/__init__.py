"""The reference as text: functions found and cut, packages made from texts."""
