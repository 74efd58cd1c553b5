import { describe, expect, it } from "@effect/vitest"
import * as FastCheck from "effect/FastCheck"
import { end, head, tupleOf, TupleReader, wholeCells } from "../../../src/internal/export/tuples.js"
import { runs, seed } from "../../support/runs.js"

type Cells = ReadonlyArray<string | null>

/** Cells as parts, and as a whole; both must be what was sent. */
const readIn = (bytes: Buffer, cuts: ReadonlyArray<number>) => {
  const rows: Array<Cells> = []
  const inParts: Array<Cells> = []
  let [cells, partial]: [Array<string | null>, Array<string | null>] = [[], []]
  let parts: Array<Buffer> = []
  const whole = wholeCells(
    (piece, start, end) => cells.push(end === -1 ? null : piece.toString("utf8", start, end)),
    () => {
      rows.push(cells)
      inParts.push(partial)
      cells = []
      partial = []
    }
  )
  const reader = new TupleReader({
    part: (piece, start, end, left) => {
      whole.part(piece, start, end, left)
      parts.push(piece.subarray(start, end))
      if (left === 0) {
        partial.push(Buffer.concat(parts).toString())
        parts = []
      }
    },
    none: () => {
      whole.none()
      partial.push(null)
    },
    row: whole.row
  })
  const places = [0, ...cuts.map((cut) => cut % bytes.length), bytes.length].sort((a, b) => a - b)
  for (const [index, place] of places.entries()) {
    reader.push(bytes.subarray(place, places[index + 1] ?? place))
  }
  expect(inParts).toEqual(rows)
  return { rows, isWhole: reader.isWhole }
}

const tables: FastCheck.Arbitrary<ReadonlyArray<Cells>> = FastCheck.integer({ min: 1, max: 5 }).chain((width) =>
  FastCheck.array(
    FastCheck.array(FastCheck.option(FastCheck.string({ unit: "binary", maxLength: 20 })), {
      minLength: width,
      maxLength: width
    }),
    { maxLength: 6 }
  )
)

const bytesOf = (rows: ReadonlyArray<Cells>) => Buffer.concat([head, ...rows.map(tupleOf), end])

describe("rows of a binary COPY", () => {
  it("are the same, wherever its bytes are cut", () => {
    FastCheck.assert(
      FastCheck.property(tables, FastCheck.array(FastCheck.nat(10_000), { maxLength: 60 }), (table, cuts) => {
        // A lone surrogate is no text of PostgreSQL.
        const rows = table.map((row) => row.map((cell) => (cell === null ? null : Buffer.from(cell).toString())))
        expect(readIn(bytesOf(rows), cuts)).toEqual({ rows, isWhole: true })
      }),
      { numRuns: runs(300), seed }
    )
  })

  it("are not whole without their end", () => {
    const bytes = bytesOf([
      ["1", null],
      ["", "b"]
    ])
    for (let length = 0; length < bytes.length; length++) {
      expect(readIn(bytes.subarray(0, length), []).isWhole).toBe(false)
    }
    expect(readIn(Buffer.concat([bytes, Buffer.from("x")]), []).isWhole).toBe(false)
  })
})
