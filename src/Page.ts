/**
 * One page of a longer answer. Every read that can be long answers with a `Page`; whatever is wanted whole is a stream.
 *
 * @since 0.1.0
 */
import type { LazyArbitrary } from "effect/Arbitrary"
import * as Option from "effect/Option"
import * as ParseResult from "effect/ParseResult"
import * as Predicate from "effect/Predicate"
import * as Schema from "effect/Schema"
import { formed } from "./internal/core/jsonForm.js"
import { pageFields, pageForm, pageOfForm } from "./internal/core/pageForm.js"

/**
 * Where the next page begins, as an opaque string. It belongs to the query it came from: with another filter, another order or
 * another kind of read it is refused as an `InvalidRequest` of the field `cursor`. The size of the page may change between pages.
 *
 * Under a scope it is encrypted and authenticated, and so is of no use without one; without a scope it is readable.
 *
 * @since 0.1.0
 * @category schemas
 */
export const Cursor = Schema.String.pipe(Schema.brand("threadline/Cursor"))

/**
 * @since 0.1.0
 * @category models
 */
export type Cursor = typeof Cursor.Type

/**
 * Some items in a total order. Rows that are written between two pages neither repeat nor hide an item.
 *
 * Its JSON is `{ items, nextCursor: string | null, hasMore }`, with `"partial": true` if it is partial: `JSON.stringify` writes that,
 * and so does whatever calls it. `Json.stringify` writes the numbers in images exactly on every platform.
 *
 * @since 0.1.0
 * @category models
 * @example
 * ```ts
 * import { Json, Query } from "threadline"
 * import * as Effect from "effect/Effect"
 *
 * export const body = Effect.map(Query.timeline({ table: "posts" }), (page) => Json.stringify(page))
 * ```
 */
export interface Page<out A> {
  /** In the order of the read, at most as many as its limit. */
  readonly items: ReadonlyArray<A>
  /** Where the next page begins; there exactly if `hasMore` is true. */
  readonly nextCursor: Option.Option<Cursor>
  /** Whether there was a further item when the page was read. It is exact, unless the page is partial. */
  readonly hasMore: boolean
  /**
   * Whether the search ended before the page was full. A read that no index can end early looks at a bounded number of rows. If that
   * was not enough, the page is shorter than its limit, maybe empty, and `nextCursor` goes on with the search. Only then may
   * `hasMore` be true although no further item exists.
   */
  readonly partial: boolean
}

/**
 * The JSON of a page.
 *
 * @since 0.1.0
 * @category models
 */
export interface Encoded<out I> {
  /** The JSON of each item. */
  readonly items: ReadonlyArray<I>
  /** Where the next page begins; null exactly if `hasMore` is false. */
  readonly nextCursor: string | null
  /** Whether there was a further item when the page was read. */
  readonly hasMore: boolean
  /** True if the page is partial; otherwise there is no such field. */
  readonly partial?: boolean
}

const formedPage = formed<Page<unknown>>(pageForm)

/**
 * A page of items. There is more exactly if there is a cursor.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = <A>(
  items: ReadonlyArray<A>,
  nextCursor: Option.Option<Cursor> = Option.none(),
  partial: boolean = false
): Page<A> => formedPage({ items, nextCursor, hasMore: Option.isSome(nextCursor), partial })

/**
 * The same page with other items.
 *
 * @since 0.1.0
 * @category mapping
 */
export const map = <A, B>(page: Page<A>, f: (item: A) => B): Page<B> =>
  formedPage({ ...page, items: page.items.map(f) })

const isPage = (u: unknown): u is Page<unknown> =>
  Predicate.hasProperty(u, "items") &&
  Array.isArray(u.items) &&
  Predicate.hasProperty(u, "nextCursor") &&
  Option.isOption(u.nextCursor) &&
  Predicate.hasProperty(u, "hasMore") &&
  typeof u.hasMore === "boolean" &&
  Predicate.hasProperty(u, "partial") &&
  typeof u.partial === "boolean"

const arbitraryPage =
  <A>(item: LazyArbitrary<A>): LazyArbitrary<Page<A>> =>
  (fc) =>
    fc
      .tuple(
        fc.array(item(fc), { maxLength: 3 }),
        fc.option(fc.base64String({ minLength: 4, maxLength: 12 })),
        fc.boolean()
      )
      .map(([items, cursor, partial]) =>
        cursor === null ? make(items) : make(items, Option.some(Cursor.make(cursor)), partial)
      )

const pageFromSelf = <A>(item: Schema.Schema<A>): Schema.Schema<Page<A>> =>
  Schema.declare(
    [item],
    {
      decode: (item) => (u, options, ast) =>
        isPage(u)
          ? ParseResult.map(ParseResult.decodeUnknown(Schema.Array(item))(u.items, options), (items) =>
              formedPage({ ...u, items })
            )
          : ParseResult.fail(new ParseResult.Type(ast, u)),
      encode: (item) => (u, options, ast) =>
        isPage(u)
          ? ParseResult.map(ParseResult.encodeUnknown(Schema.Array(item))(u.items, options), (items) =>
              formedPage({ ...u, items })
            )
          : ParseResult.fail(new ParseResult.Type(ast, u))
    },
    { identifier: "Page", arbitrary: arbitraryPage }
  )

/**
 * The schema of a page, from the schema of its items. An endpoint of an `HttpApi` can declare it, and a client decode by it.
 *
 * Its encoded form is the JSON that the command line prints. If a client is to get every number exactly from every platform, declare
 * `Json.fromText(Page.schema(item))`.
 *
 * @since 0.1.0
 * @category schemas
 * @example
 * ```ts
 * import { HttpApiEndpoint } from "@effect/platform"
 * import { Page, Query } from "threadline"
 *
 * export const timeline = HttpApiEndpoint.get("timeline", "/audit/timeline").addSuccess(Page.schema(Query.Change))
 * ```
 */
export const schema = <A, I, R>(item: Schema.Schema<A, I, R>): Schema.Schema<Page<A>, Encoded<I>, R> =>
  Schema.transform(Schema.Struct(pageFields(item)), pageFromSelf(Schema.typeSchema(item)), {
    strict: true,
    decode: (form) => {
      const page = pageOfForm(form)
      return formedPage({ ...page, nextCursor: Option.map(page.nextCursor, (cursor) => Cursor.make(cursor)) })
    },
    encode: pageForm
  })
