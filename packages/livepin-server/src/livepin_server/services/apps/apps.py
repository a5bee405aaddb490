"""Placeholder until merged."""


class Apps:
    def read(self, connection, account):
        return {}
