/**
 * One page of a longer answer. Every read that can be long answers with a `Page`; whatever is wanted whole is a stream.
 *
 * @since 0.1.0
 */
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"

/**
 * Where the next page begins, as an opaque text. It belongs to the query it came from: with another filter, another order or
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
 * Some items in a total order. `hasMore` is exact: it says whether there was a further item when the page was read, and
 * `nextCursor` is there exactly when it is true. Rows written while somebody pages neither repeat nor hide an item.
 *
 * A read that no index can end early looks at a bounded number of rows. Where that was not enough to fill the page it is
 * `partial`: shorter than its limit, maybe empty, and `nextCursor` goes on with the search where it ended. Only then may
 * `hasMore` be true although no further item exists.
 *
 * @since 0.1.0
 * @category models
 */
export interface Page<out A> {
  readonly items: ReadonlyArray<A>
  readonly nextCursor: Option.Option<Cursor>
  readonly hasMore: boolean
  /** Whether the search ended before the page was full. */
  readonly partial: boolean
}

/**
 * The same page with other items.
 *
 * @since 0.1.0
 * @category mapping
 */
export const map = <A, B>(page: Page<A>, f: (item: A) => B): Page<B> => ({ ...page, items: page.items.map(f) })

/**
 * The page as one JSON document, `{ items, nextCursor: string | null, hasMore }`, with `"partial": true` where it is; `item`
 * writes one item as JSON.
 *
 * @since 0.1.0
 * @category conversions
 */
export const toJson = <A>(page: Page<A>, item: (item: A) => string): string =>
  `{"items":[${page.items.map(item).join(",")}],"nextCursor":${JSON.stringify(Option.getOrNull(page.nextCursor))},"hasMore":${page.hasMore}${page.partial ? ',"partial":true' : ""}}`
