"""The texts of the twelve lessons, one Markdown file each; none is written yet."""
