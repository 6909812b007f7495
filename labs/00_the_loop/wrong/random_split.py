def time_split(table, at):
    test = table.sample(frac=0.25, random_state=1)
    return table.drop(test.index), test
