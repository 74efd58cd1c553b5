/**
 * A page in JSON: `{ items, nextCursor, hasMore }`, with `"partial": true` if it is partial.
 */
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"

interface Fields<A, Cursor extends string> {
  readonly items: ReadonlyArray<A>
  readonly nextCursor: Option.Option<Cursor>
  readonly hasMore: boolean
  readonly partial: boolean
}

/** The fields of a page in JSON. */
export const pageFields = <A, I, R>(item: Schema.Schema<A, I, R>) => ({
  items: Schema.Array(item),
  nextCursor: Schema.NullOr(Schema.String),
  hasMore: Schema.Boolean,
  partial: Schema.optionalWith(Schema.Boolean, { exact: true })
})

export const pageForm = <A, Cursor extends string>({ hasMore, items, nextCursor, partial }: Fields<A, Cursor>) => ({
  items,
  nextCursor: Option.getOrNull(nextCursor),
  hasMore,
  ...(partial ? { partial } : {})
})

/** The page that a form is of. */
export const pageOfForm = <A>({
  hasMore,
  items,
  nextCursor,
  partial
}: {
  readonly items: ReadonlyArray<A>
  readonly nextCursor: string | null
  readonly hasMore: boolean
  readonly partial?: boolean
}): Fields<A, string> => ({
  items,
  nextCursor: Option.fromNullable(nextCursor),
  hasMore,
  partial: partial ?? false
})
