/** Figures against targets. */
import type { Figure, Measured, Shape } from "./measure.js"
import { type Contestant, contestants, type Op, ops } from "./contestants.js"
import type { Durations } from "./transaction.js"

export interface Verdict {
  readonly what: string
  readonly ratio: number
  readonly target: number
  readonly met: boolean
}

export interface Report {
  readonly server: string
  readonly measure: "cpu" | "wall"
  readonly measured: Measured
  readonly transaction: Durations
  readonly verdicts: ReadonlyArray<Verdict>
}

const floorTargets: Readonly<Record<Op, number>> = { insert: 2.3, update: 4.5, delete: 2.3 }
const genericTargets: Readonly<Record<Op, number>> = { insert: 1.1, update: 0.9, delete: 1.1 }

export const report = (server: string, measured: Measured, transaction: Durations): Report => {
  const measure = measured.single.update.ours.cpu === undefined ? "wall" : "cpu"
  const of = (figure: Figure): number => (measure === "cpu" ? (figure.cpu ?? Number.NaN) : figure.wall)
  const ratio = (shape: Shape, op: Op, to: Contestant): number =>
    of(measured[shape][op].ours) / of(measured[shape][op][to])
  const verdict = (what: string, value: number, target: number): Verdict => ({
    what,
    ratio: value,
    target,
    met: value <= target
  })
  return {
    server,
    measure,
    measured,
    transaction,
    verdicts: [
      ...ops.map((op) =>
        verdict(
          `single-row ${op} with a context, in a procedure: adds, of what the generic trigger adds`,
          ratio("single", op, "generic"),
          genericTargets[op]
        )
      ),
      verdict("Audit.transaction, of sql.withTransaction", transaction.audited / transaction.plain, 1.35),
      ...ops.map((op) =>
        verdict(`bulk ${op}: adds, of what the floor adds`, ratio("bulk", op, "floor"), floorTargets[op])
      ),
      ...ops.map((op) =>
        verdict(`bulk ${op}: adds, of what the generic trigger adds`, ratio("bulk", op, "generic"), 0.3)
      ),
      verdict(
        "bytes per change, single-row transactions, of the generic trigger's",
        measured.bytes.single.ours / measured.bytes.single.generic,
        1
      ),
      verdict(
        "bytes per change, bulk, of the generic trigger's",
        measured.bytes.bulk.ours / measured.bytes.bulk.generic,
        1
      )
    ]
  }
}

const number = (value: number | undefined): string => (value === undefined ? "-" : value.toFixed(1)).padStart(9)

export const print = (result: Report): string => {
  const lines = [
    `PostgreSQL ${result.server}; microseconds per row, median of rounds; verdicts by ${
      result.measure === "cpu" ? "CPU of the backend" : "wall time (the server is on another machine)"
    }`,
    "",
    `${"".padEnd(18)}${contestants.map((each) => (each === "none" ? "no capture" : `+${each}`).padStart(20)).join("")}`,
    `${"".padEnd(18)}${contestants.map(() => `${"cpu".padStart(11)}${"wall".padStart(9)}`).join("")}`
  ]
  for (const shape of ["single", "bulk"] as const) {
    for (const op of ops) {
      const figures = result.measured[shape][op]
      const cells = contestants.map((each) => `  ${number(figures[each].cpu)}${number(figures[each].wall)}`)
      lines.push(`${`${shape} ${op}`.padEnd(18)}${cells.join("")}`)
    }
  }
  lines.push("")
  for (const shape of ["single", "bulk"] as const) {
    const { generic, ours } = result.measured.bytes[shape]
    lines.push(`bytes per change, ${shape}: ours ${ours.toFixed(0)}, generic ${generic.toFixed(0)}`)
  }
  const { generic, ours } = result.measured.emptyBytes
  lines.push(`kilobytes while empty: ours ${(ours / 1024).toFixed(0)}, generic ${(generic / 1024).toFixed(0)}`)
  const { audited, plain } = result.transaction
  lines.push(
    `whole transaction, wall: Audit.transaction ${audited.toFixed(0)}, sql.withTransaction ${plain.toFixed(0)}`,
    ""
  )
  const width = Math.max(...result.verdicts.map(({ what }) => what.length))
  lines.push(`${"".padEnd(width)}   ratio  target`)
  for (const { met, ratio, target, what } of result.verdicts) {
    lines.push(
      `${what.padEnd(width)}  ${ratio.toFixed(2).padStart(6)}  ${target.toFixed(2).padStart(6)}  ${met ? "met" : "missed"}`
    )
  }
  return lines.join("\n")
}
