/**
 * The transactions that a reader sees, as in `pg_snapshot`: those below `end`, except those that were running.
 */

export interface Snapshot {
  /** The first transaction id that was not assigned yet. */
  readonly end: bigint
  /** Those below `end` that had not ended, ascending. */
  readonly running: ReadonlyArray<bigint>
}

/** Nothing is visible in it. */
export const nothing: Snapshot = { end: 0n, running: [] }

/** Everything is visible in it. A past epoch has no running transactions. */
export const everything: Snapshot = { end: 2n ** 63n - 1n, running: [] }

const ascending = (values: Iterable<bigint>): ReadonlyArray<bigint> =>
  [...new Set(values)].sort((a, b) => (a < b ? -1 : a > b ? 1 : 0))

/** Reads PostgreSQL's own text, `xmin:xmax:xip,xip`. */
export const parse = (text: string): Snapshot | undefined => {
  const match = /^\d+:(\d+):((?:\d+,)*\d+)?$/.exec(text)
  return match?.[1] === undefined
    ? undefined
    : { end: BigInt(match[1]), running: ascending((match[2] ?? "").split(",").filter(Boolean).map(BigInt)) }
}

/** Writes PostgreSQL's own text. PostgreSQL has no snapshot that ends at 0. */
export const format = ({ end, running }: Snapshot): string => {
  const last = end === 0n ? 1n : end
  return `${running[0] ?? last}:${last}:${running.join(",")}`
}

export const isVisible = (snapshot: Snapshot, xid: bigint): boolean =>
  xid < snapshot.end && !snapshot.running.includes(xid)

/** The snapshot, with these transactions counted as running. */
export const without = (snapshot: Snapshot, xids: ReadonlyArray<bigint>): Snapshot => ({
  end: snapshot.end,
  running: ascending([...snapshot.running, ...xids.filter((xid) => xid < snapshot.end)])
})

/** What is visible in either. Two servers of one cluster may each be ahead of the other. */
export const union = (a: Snapshot, b: Snapshot): Snapshot => {
  const [short, long] = a.end <= b.end ? [a, b] : [b, a]
  const hidden = new Set(short.running)
  return { end: long.end, running: long.running.filter((xid) => xid >= short.end || hidden.has(xid)) }
}

/** Whether everything visible in `inner` is visible in `outer`. */
export const includes = (outer: Snapshot, inner: Snapshot): boolean => {
  if (inner.end > outer.end) {
    return false
  }
  const hidden = new Set(inner.running)
  return outer.running.every((xid) => xid >= inner.end || hidden.has(xid))
}
