/**
 * How rows stood at an instant: the answers of reads, and their JSON.
 */
import * as ParseResult from "effect/ParseResult"
import * as Schema from "effect/Schema"
import { InstantText } from "../core/instant.js"
import { formed, formedSchema } from "../core/jsonForm.js"
import { RowImage, RowPk } from "../record/change.js"
import type { RecordedAs } from "../record/columns.js"

const answer = <Tag extends string, Fields extends Schema.Struct.Fields>(tag: Tag, fields: Fields) =>
  Schema.Struct({
    _tag: Schema.propertySignature(Schema.Literal(tag)).pipe(Schema.fromKey("answer")),
    ...fields,
    /** The instant, in UTC with microseconds. */
    at: InstantText
  })

const MovedToAnswer = Schema.transform(
  answer("MovedTo", { key: Schema.String }),
  Schema.Struct({
    _tag: Schema.Literal("MovedTo"),
    /** The key that the row moved to. */
    key: Schema.String,
    /** The same by column. JSON has only `key`. */
    rowPk: Schema.NullOr(RowPk),
    /** The instant, in UTC with microseconds. */
    at: InstantText
  }),
  {
    strict: true,
    decode: (moved) => ({ ...moved, rowPk: null }),
    encode: ({ _tag, at, key }) => ({ _tag, key, at })
  }
)

/** The row is rebuilt: no change before the instant is kept, and the row is what the first change after it replaced. */
const Rebuilt = Schema.optionalWith(Schema.Literal(true), { exact: true })

const RecordedAsSchema = Schema.optionalWith(
  Schema.Struct({
    /** The name of the table then, as in SQL. */
    table: Schema.optionalWith(Schema.String, { exact: true }),
    /** Present name of a column to the name that `row` shows. */
    columns: Schema.optionalWith(RowPk, { exact: true })
  }),
  { exact: true }
)

interface Marks {
  readonly rebuilt?: true
  readonly recordedAs?: RecordedAs
}

/** The marks of a row that is rebuilt or was recorded under other names. They are spread into the object that shows the row. */
export const marksOf = ({ rebuilt, recordedAs }: Marks): Marks => ({
  ...(rebuilt === true ? { rebuilt } : {}),
  ...(recordedAs === undefined ? {} : { recordedAs })
})

const PresentAnswer = answer("Present", { row: RowImage, rebuilt: Rebuilt, recordedAs: RecordedAsSchema })

/**
 * The row was there, as `row`.
 *
 * @since 0.1.0
 * @category models
 */
export interface Present extends Schema.Schema.Type<typeof PresentAnswer> {}

const DeletedAnswer = answer("Deleted", {})

/**
 * The row had been deleted, or its table truncated.
 *
 * @since 0.1.0
 * @category models
 */
export interface Deleted extends Schema.Schema.Type<typeof DeletedAnswer> {}

/**
 * An update had given the row another key.
 *
 * @since 0.1.0
 * @category models
 */
export interface MovedTo extends Schema.Schema.Type<typeof MovedToAnswer> {}

const NotYetCreatedAnswer = answer("NotYetCreated", {})

/**
 * The row came later.
 *
 * @since 0.1.0
 * @category models
 */
export interface NotYetCreated extends Schema.Schema.Type<typeof NotYetCreatedAnswer> {}

const BeforeCaptureAnswer = answer("BeforeCapture", {})

/**
 * Nothing is known of the row at that time, or nothing that the reader may see.
 *
 * @since 0.1.0
 * @category models
 */
export interface BeforeCapture extends Schema.Schema.Type<typeof BeforeCaptureAnswer> {}

/** A plain answer. The answers of reads also have a prototype that gives their JSON. */
export const Answer = Schema.Union(
  PresentAnswer,
  DeletedAnswer,
  MovedToAnswer,
  NotYetCreatedAnswer,
  BeforeCaptureAnswer
).annotations({ identifier: "threadline.AsOf" })

/**
 * How a row stood at an instant.
 *
 * - `Present`: it was there, as `row`. If no change before the instant is kept, and the first one after it is an update or a
 *   delete, the row is rebuilt from what that change replaced, and `rebuilt` is true. Nothing is rebuilt beyond the time in which
 *   every change of the table was captured and kept, so a rebuilt row is certain. `recordedAs` is there if the table or columns
 *   have other names now: `row` shows the names that they had.
 * - `Deleted`: it had been deleted, or its table truncated.
 * - `MovedTo`: an update had given it another key. `key` is the row key, `rowPk` the same by column.
 * - `NotYetCreated`: the first known change is the insert (or the move to this key) that came later.
 * - `BeforeCapture`: nothing is known of it at that time, or nothing that the reader may see. Capture of its table had not begun,
 *   changes of that time are not kept, the table was not captured just then, or no change of the row gives an answer.
 *
 * @since 0.1.0
 * @category models
 */
export type AsOf = Present | Deleted | MovedTo | NotYetCreated | BeforeCapture

/** The JSON of an answer, `{ answer, row?, rebuilt?, recordedAs?, key?, at }`. */
export const asOfForm = (answer: AsOf) => ({
  answer: answer._tag,
  ...(answer._tag === "Present"
    ? { row: answer.row, ...marksOf(answer) }
    : answer._tag === "MovedTo"
      ? { key: answer.key }
      : {}),
  at: answer.at
})

export const makeAsOf: (answer: AsOf) => AsOf = formed(asOfForm)

/**
 * The JSON is `{ answer, row?, rebuilt?, recordedAs?, key?, at }`.
 *
 * @since 0.1.0
 * @category schemas
 */
export const AsOf: Schema.Schema<AsOf, typeof Answer.Encoded> = formedSchema(Answer, makeAsOf)

const rowFields = {
  /** The key as one text. */
  rowKey: Schema.String,
  /** Key column to canonical text. Null if no change that is still kept has it. */
  rowPk: Schema.NullOr(RowPk)
}

/**
 * A row that was present at an instant, with its key as text and by column.
 *
 * @since 0.1.0
 * @category schemas
 */
export const RowAsOf = Schema.Struct({
  ...rowFields,
  /** The row as it stood. */
  row: RowImage,
  rebuilt: Rebuilt,
  recordedAs: RecordedAsSchema
}).annotations({ identifier: "threadline.RowAsOf" })

/**
 * @since 0.1.0
 * @category models
 */
export interface RowAsOf extends Schema.Schema.Type<typeof RowAsOf> {}

/** The union under its name: editors show that instead of its members. */
const PlainAnswer: Schema.Schema<AsOf> = Schema.typeSchema(Answer)

const KeyAnswer = Schema.Struct({
  ...rowFields,
  /** How the row under this key stood. */
  answer: PlainAnswer
})

/**
 * @since 0.1.0
 * @category models
 */
export interface KeyAsOf extends Schema.Schema.Type<typeof KeyAnswer> {}

export const makeKeyAsOf: (keyAsOf: KeyAsOf) => KeyAsOf = formed(({ answer, rowKey, rowPk }: KeyAsOf) => ({
  rowKey,
  rowPk,
  ...asOfForm(answer)
}))

/**
 * How the row under one of several keys stood at an instant. In JSON the answer is not nested:
 * `{ rowKey, rowPk, answer, row?, rebuilt?, recordedAs?, key?, at }`.
 *
 * @since 0.1.0
 * @category schemas
 */
export const KeyAsOf = formedSchema(
  Schema.transformOrFail(Schema.extend(Schema.Struct(rowFields), Schema.encodedSchema(Answer)), KeyAnswer, {
    strict: true,
    decode: ({ rowKey, rowPk, ...encoded }) =>
      ParseResult.map(ParseResult.decode(AsOf)(encoded), (answer) => ({ rowKey, rowPk, answer })),
    encode: ({ answer, rowKey, rowPk }) =>
      ParseResult.map(ParseResult.encode(Answer)(answer), (encoded) => ({ rowKey, rowPk, ...encoded }))
  }).annotations({ identifier: "threadline.KeyAsOf" }),
  makeKeyAsOf
)
