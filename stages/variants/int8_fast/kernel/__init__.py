"""The kernel of int8_fast: C++ sources, compiled at first use, and the choice by CPU."""
