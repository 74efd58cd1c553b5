/** Saved views: the list on the start page, the form on a timeline, and what these forms do. */
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Option from "effect/Option"
import type { VNode } from "preact"
import * as Query from "../../../Query.js"
import type * as SavedViews from "../../../SavedViews.js"
import type { Viewer } from "../access.js"
import { ActionForm } from "../design/ActionForm.js"
import { Text } from "../design/Text.js"
import { asLinked, type Listing } from "../filterForm.js"
import { redirect, type ScreenContext, type Screened } from "../screen.js"
import { useSite } from "../site.js"
import { durationName } from "../zone.js"
import { notProvided, nobodysViews } from "./trouble.js"

/** The owner of a viewer's views. Undefined if the viewer is not identified. */
export const ownerOf = ({ actor }: Viewer): SavedViews.OwnerInput | undefined =>
  actor === undefined || actor.type === "anonymous" ? undefined : { type: actor.type, id: actor.id }

/** The most views to show on the start page. */
const mostShown = 40

export interface OwnViews {
  readonly views: ReadonlyArray<SavedViews.SavedView>
  readonly more: boolean
}

/** The viewer's views. Undefined if they can have none, or if reading them takes too long. */
export const ownViewsOf = ({ patience, services, viewer }: ScreenContext): Effect.Effect<OwnViews | undefined> => {
  const owner = ownerOf(viewer)
  return owner === undefined || services.views._tag === "None"
    ? Effect.succeed(undefined)
    : services.views.value.list({ owner, limit: mostShown }).pipe(
        Effect.timeout(patience("views")),
        Effect.option,
        Effect.map((found) =>
          found._tag === "None"
            ? undefined
            : {
                views: [...found.value.items].sort((one, other) => (one.name < other.name ? -1 : 1)),
                more: found.value.hasMore
              }
        )
      )
}

export const ViewList = ({ ownViews }: { readonly ownViews: OwnViews | undefined }): VNode | null => {
  const { to } = useSite()
  if (ownViews === undefined) {
    return null
  }
  const { more, views } = ownViews
  return (
    <section id="views">
      <h2>Saved views</h2>
      {views.length === 0 ? (
        <p class="sub">
          None yet. A <a href={to.timeline()}>timeline</a> can be saved under a name.
        </p>
      ) : (
        <ActionForm act="views/delete" whole>
          <ul class="list row">
            {views.map(({ name, since }) => (
              <li key={name}>
                <a href={to.home({ view: name })}>
                  <Text text={name} limit={80} />
                </a>
                {since === null ? null : <span class="sub">{durationName(since)}</span>}
                <button class="bare end" name="name" value={name}>
                  Delete
                  <span class="hide">
                    {" "}
                    the view <Text text={name} limit={80} />
                  </span>
                </button>
              </li>
            ))}
          </ul>
        </ActionForm>
      )}
      {more ? (
        <p class="sub">
          These are the newest; <code>threadline views list</code> has all.
        </p>
      ) : null}
    </section>
  )
}

/** The form that saves the filter of a timeline. A moving window is saved as such. */
export const SaveForm = ({ listing }: { readonly listing: Listing }): VNode => {
  const { filter } = asLinked(listing)
  const text = Either.match(Query.filterFromInput(filter), {
    onLeft: () => "",
    onRight: (decoded) => Query.filterToUrl({ ...decoded, cursor: undefined })
  })
  const { since } = listing
  return (
    <details class="save">
      <summary>Save this view</summary>
      <ActionForm
        act="views/save"
        fields={{ filter: text, since: since === undefined || since === "all" ? "" : since }}
      >
        <label>
          Name
          <input name="name" required maxlength={200} autocomplete="off" />
        </label>
        <label>
          <input type="checkbox" name="replace" value="on" /> replace the view of that name
        </label>
        <button class="go">Save</button>
      </ActionForm>
    </details>
  )
}

const withViews = (
  { services, viewer }: ScreenContext,
  use: (views: SavedViews.Service, owner: SavedViews.OwnerInput) => Screened
): Screened => {
  const owner = ownerOf(viewer)
  return Option.match(services.views, {
    onNone: () => Effect.succeed(notProvided("SavedViews")),
    onSome: (views) => (owner === undefined ? Effect.succeed(nobodysViews) : use(views, owner))
  })
}

const toList = ({ to }: ScreenContext) => redirect(`${to.home()}#views`)

export const saveView = (fields: URLSearchParams, context: ScreenContext): Screened =>
  withViews(context, (views, owner) =>
    Effect.gen(function* () {
      const filter = yield* Query.filterFromUrl(fields.get("filter") ?? "")
      yield* views.save({
        owner,
        name: (fields.get("name") ?? "").trim(),
        filter,
        since: fields.get("since") || undefined,
        replace: fields.get("replace") === "on"
      })
      return toList(context)
    })
  )

export const deleteView = (fields: URLSearchParams, context: ScreenContext): Screened =>
  withViews(context, (views, owner) => Effect.as(views.remove(owner, fields.get("name") ?? ""), toList(context)))

/** Redirects to the timeline of a view. Links hold only the name of a view, because its filter may be long. */
export const openView = (name: string, context: ScreenContext): Screened =>
  withViews(context, (views, owner) =>
    Effect.gen(function* () {
      const view = yield* views.get(owner, name)
      const filter = yield* Query.filterFromUrl(view.filter)
      const timed = filter.from !== undefined || filter.to !== undefined
      return redirect(context.to.timeline(filter, { since: view.since ?? (timed ? undefined : "all") }))
    })
  )
