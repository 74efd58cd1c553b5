select count(*)::int from posts
