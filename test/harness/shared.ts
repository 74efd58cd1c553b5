/**
 * Shares things between the projects of a test run. Each project loads its setup files anew, but all in one process:
 * the first project makes a thing, and the last one to release it ends it.
 */

export interface Made<A> {
  readonly value: A
  readonly end: () => Promise<void>
}

interface Entry<A> {
  readonly made: Promise<Made<A>>
  users: number
}

/** The thing of this name. `end` releases it. */
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
