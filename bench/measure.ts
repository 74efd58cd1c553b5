/** The rounds: contestants take turns within each, so that a busy machine is busy for all of them. */
import { bulk, changes, type Contestant, contestants, empty, type Op, ops, select, size } from "./contestants.js"
import type { Cost, Session } from "./server.js"

export interface Effort {
  readonly rounds: number
  readonly singleRows: number
  readonly bulkRows: number
  readonly transactions: number
}

export const thorough: Effort = { rounds: 9, singleRows: 1000, bulkRows: 10_000, transactions: 400 }
export const quick: Effort = { rounds: 3, singleRows: 300, bulkRows: 2000, transactions: 100 }

export type Shape = "single" | "bulk"

/** Microseconds per row, the median of the rounds. */
export interface Figure {
  readonly cpu: number | undefined
  readonly wall: number
}

/** What a contestant adds to the host's own work; of the rounds, the median of the differences within each. */
export type Figures = Readonly<Record<Contestant, Figure>>

export interface Measured {
  readonly single: Readonly<Record<Op, Figures>>
  readonly bulk: Readonly<Record<Op, Figures>>
  /**
   * Of a change that came from a single-row transaction, with its transaction; of one in a bulk statement. What tables and partitions
   * take while they are empty is not counted.
   */
  readonly bytes: Readonly<Record<Shape, Readonly<Record<"generic" | "ours", number>>>>
  /** Bytes of all tables while they are empty. */
  readonly emptyBytes: Readonly<Record<"generic" | "ours", number>>
}

export const median = (values: ReadonlyArray<number>): number => {
  const sorted = [...values].sort((a, b) => a - b)
  const middle = sorted.length >> 1
  const upper = sorted[middle] ?? Number.NaN
  return sorted.length % 2 === 1 ? upper : ((sorted[middle - 1] ?? Number.NaN) + upper) / 2
}

const figures = (rounds: ReadonlyArray<ReadonlyMap<Contestant, Cost>>, rows: number): Figures => {
  const of = (contestant: Contestant): Figure => {
    const costs = rounds.flatMap((round) => {
      const cost = round.get(contestant)
      const plain = round.get("none")
      if (cost === undefined || plain === undefined) return []
      const less = contestant === "none" ? { cpu: 0, wall: 0 } : plain
      return [
        {
          cpu: cost.cpu === undefined || less.cpu === undefined ? undefined : (cost.cpu - less.cpu) / rows,
          wall: (cost.wall - less.wall) / rows
        }
      ]
    })
    const cpu = costs.flatMap((cost) => (cost.cpu === undefined ? [] : [cost.cpu]))
    return { cpu: cpu.length === 0 ? undefined : median(cpu), wall: median(costs.map((cost) => cost.wall)) }
  }
  return { none: of("none"), floor: of("floor"), generic: of("generic"), ours: of("ours") }
}

const order = (round: number): ReadonlyArray<Contestant> =>
  contestants.map((_, index) => contestants[(index + round) % contestants.length] ?? "none")

export const measure = async (
  session: Session,
  effort: Effort,
  progress: (text: string) => void
): Promise<Measured> => {
  await session.run("set synchronous_commit = off", "set client_min_messages = warning")
  const run = async (
    shape: Shape,
    rows: number,
    statement: (op: Op, contestant: Contestant, round: number) => string
  ) => {
    const seen: Record<Op, Array<Map<Contestant, Cost>>> = { insert: [], update: [], delete: [] }
    await session.run(empty)
    const number = async (statement: string) => Number((await session.column(statement))[0])
    const emptyBytes = { generic: await number(size("generic")), ours: await number(size("ours")) }
    // The first round fills caches and is not counted.
    for (let round = 0; round <= effort.rounds; round++) {
      progress(`${shape}: round ${round} of ${effort.rounds}`)
      const costs = new Map<Op, Map<Contestant, Cost>>(ops.map((op) => [op, new Map()]))
      for (const contestant of order(round)) {
        await session.run(select(contestant))
        for (const op of ops) {
          costs.get(op)?.set(contestant, await session.cost(statement(op, contestant, round)))
        }
      }
      await session.run("vacuum accounts")
      // No contestant goes on with plans that were made while its tables were empty.
      if (round === 0) await session.run("analyze", "discard plans")
      if (round > 0) {
        for (const op of ops) seen[op].push(costs.get(op) ?? new Map<Contestant, Cost>())
      }
    }
    const bytes = async (of: "generic" | "ours") =>
      ((await number(size(of))) - emptyBytes[of]) / (await number(changes(of)))
    return {
      figures: {
        insert: figures(seen.insert, rows),
        update: figures(seen.update, rows),
        delete: figures(seen.delete, rows)
      },
      bytes: { generic: await bytes("generic"), ours: await bytes("ours") },
      emptyBytes
    }
  }

  const single = await run("single", effort.singleRows, (op, contestant, round) => {
    const first = 1 + (round * contestants.length + contestants.indexOf(contestant)) * effort.singleRows
    return `call single_rows('${op}', ${first}, ${effort.singleRows}, '${contestant}')`
  })
  const many = await run("bulk", effort.bulkRows, (op) => bulk(op, effort.bulkRows))
  return {
    single: single.figures,
    bulk: many.figures,
    bytes: { single: single.bytes, bulk: many.bytes },
    emptyBytes: single.emptyBytes
  }
}
