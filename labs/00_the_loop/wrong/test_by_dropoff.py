def time_split(table, at):
    return table[table["dropoff_at"] <= at], table[table["dropoff_at"] > at]
