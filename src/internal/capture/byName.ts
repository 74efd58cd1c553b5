/** Finds things by the name of a table, with a map: a database may have a thousand tables, and each of them needs a search. */
import type { Name } from "./catalogModel.js"

const keyOf = ({ name, schema }: Name): string => `${schema}\0${name}`

/** Makes the function that finds the first item with a given name. */
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

/** Like `byName`, but makes the map of each list only once. The lists must not change. */
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

/** Each name once, in the order of first occurrence. */
export const distinct = (names: ReadonlyArray<Name>): ReadonlyArray<Name> => [
  ...new Map(names.map((name) => [keyOf(name), name])).values()
]
