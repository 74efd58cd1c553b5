/** Things found by a name of a table. A database may have a thousand tables, and each of them asks. */
import type { Name } from "./catalogModel.js"

const keyOf = ({ name, schema }: Name): string => `${schema}\0${name}`

/** Finds the first of some things that has a name. */
export const byName = <A>(all: ReadonlyArray<A>, nameOf: (one: A) => Name): ((name: Name) => A | undefined) => {
  const firstOfName = new Map<string, A>()
  for (const item of all) {
    const key = keyOf(nameOf(item))
    if (!firstOfName.has(key)) {
      firstOfName.set(key, item)
    }
  }
  return (name) => firstOfName.get(keyOf(name))
}

/** The same, made once for a list that never changes. */
export const byNameOnce = <A extends object>(
  nameOf: (one: A) => Name
): ((all: ReadonlyArray<A>, name: Name) => A | undefined) => {
  const made = new WeakMap<ReadonlyArray<A>, (name: Name) => A | undefined>()
  return (all, name) => {
    const find = made.get(all) ?? byName(all, nameOf)
    made.set(all, find)
    return find(name)
  }
}

/** The names without those that came before. */
export const distinct = (names: ReadonlyArray<Name>): ReadonlyArray<Name> => [
  ...new Map(names.map((name) => [keyOf(name), name])).values()
]
