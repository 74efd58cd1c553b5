/**
 * What the projects of a test run share. Each project loads its setup files anew, in the one process of the run: the first that
 * asks makes the thing, the last that is done with it ends it.
 */

export interface Made<A> {
  readonly value: A
  readonly end: () => Promise<void>
}

interface Entry<A> {
  readonly made: Promise<Made<A>>
  users: number
}

/** A function that gives the thing of this name, and one that says that it is no longer needed. */
export const shared = async <A>(name: string, make: () => Promise<Made<A>>): Promise<Made<A>> => {
  const key = Symbol.for(`threadline/test/${name}`)
  const entries: { [key: symbol]: Entry<A> | undefined } = globalThis
  const entry = (entries[key] ??= { made: make(), users: 0 })
  entry.users++
  const { end, value } = await entry.made
  return {
    value,
    end: async () => {
      if (--entry.users === 0) {
        entries[key] = undefined
        await end()
      }
    }
  }
}
