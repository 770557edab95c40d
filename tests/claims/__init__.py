"""Tests of the claims of each chapter, on made-up rows and on the printed tables."""
