-- Saved views: filters under a name. Each belongs to one actor, who may replace and delete it. Views are not part of the record.

create table saved_views (
  id bigint generated always as identity primary key,
  owner_type text collate "C" not null check (owner_type in ('user', 'admin', 'service_account', 'job', 'system')),
  owner_id text collate "C" not null check (octet_length(owner_id) between 1 and 256),
  name text collate "C" not null check (octet_length(name) between 1 and 256),
  -- The canonical text of the filter, without limit and cursor.
  filter text collate "C" not null check (octet_length(filter) <= 16384),
  -- A window that ends when the view is run, such as 7d. Then the filter has no `from`.
  since text collate "C" check (since ~ '^[1-9][0-9]{0,5}[smhdw]$'),
  created_at timestamptz not null default clock_timestamp(),
  updated_at timestamptz not null default clock_timestamp(),
  unique (owner_type, owner_id, name)
);

comment on table saved_views is 'Filters that actors have saved under a name.';

-- Saves a view and returns saved. If there is a view of that name, it is replaced if the caller asks for that. Otherwise taken is returned.
-- If the owner has as many views as allowed, full is returned.
create function save_view(
  kind text,
  owner text,
  view_name text,
  view_filter text,
  view_since text,
  replacing boolean,
  most int
) returns text
language plpgsql security definer
set search_path from current
as $$
begin
  -- Only one session at a time counts and adds.
  perform pg_advisory_xact_lock(hashtextextended('threadline views ' || kind || ':' || owner, 0));
  if exists (
    select from saved_views v where v.owner_type = kind and v.owner_id = owner and v.name = view_name
  ) then
    if not replacing then
      return 'taken';
    end if;
    update saved_views v
    set filter = view_filter,
      since = view_since,
      updated_at = clock_timestamp()
    where v.owner_type = kind and v.owner_id = owner and v.name = view_name;
    return 'saved';
  end if;
  if (select count(*) from saved_views v where v.owner_type = kind and v.owner_id = owner) >= most then
    return 'full';
  end if;
  insert into saved_views (owner_type, owner_id, name, filter, since)
  values (kind, owner, view_name, view_filter, view_since);
  return 'saved';
end
$$;

-- Deletes a view. Returns false if there is no view of that name.
create function delete_view(kind text, owner text, view_name text) returns boolean
language plpgsql security definer
set search_path from current
as $$
begin
  delete from saved_views v where v.owner_type = kind and v.owner_id = owner and v.name = view_name;
  return found;
end
$$;

revoke all on function save_view(text, text, text, text, text, boolean, int), delete_view(text, text, text) from public;

select guard_record();
