-- In the manner of a schema dump: every object is handed to postgres.

CREATE TABLE IF NOT EXISTS "public"."notes" (
  "id" "uuid" DEFAULT "gen_random_uuid"() NOT NULL,
  "author" "uuid" DEFAULT "auth"."uid"(),
  "body" "text"
);

ALTER TABLE "public"."notes" OWNER TO "postgres";

ALTER TABLE ONLY "public"."notes"
  ADD CONSTRAINT "notes_pkey" PRIMARY KEY ("id");

CREATE POLICY "Own notes" ON "public"."notes" USING (("author" = ( SELECT "auth"."uid"() AS "uid")));

GRANT ALL ON TABLE "public"."notes" TO "anon";
GRANT ALL ON TABLE "public"."notes" TO "authenticated";
GRANT ALL ON TABLE "public"."notes" TO "service_role";
