"""The subcommand that runs a whole study, or compares two."""

from ._common import PrintFields, command, given

__all__ = ["COMMANDS"]

WORSE = 3  # exit status, so that a script can tell it from an error, 1, and from wrong options, 2


def _add_study(commands):
    text = "Run a whole study of translators: all levels, tables, figures and a page; or compare two studies."
    parser = command(commands, "study", _study, text)
    parser.add_argument(
        "words", metavar="RECIPE | compare OLD NEW", nargs="*",
        help="a TOML file; or compare, and the folders of two studies: the exit status is 3 if a figure of the new one "
        "is significantly worse",
    )  # fmt: skip
    parser.add_argument("--fields", action=PrintFields, home="astro_galtrans.study.recipe")
    parser.add_argument("--preset", metavar="NAME", help="a recipe that comes with the package: quick, standard, paper")
    parser.add_argument("-o", "--output", metavar="DIR", help="folder of the study; finished steps are kept there")
    parser.add_argument("--cache", metavar="DIR", help="keep costly steps here instead, to share them among studies")
    parser.add_argument("--update", action="store_true", help="replace the study of another recipe in DIR")
    parser.add_argument("--number", type=int, metavar="N", help="galaxies judged, whatever the recipe says")
    parser.add_argument("--training", type=int, metavar="N", help="galaxies that photo-z estimators are trained on")
    parser.add_argument(
        "--models", nargs="+", default=[], metavar="OLD=NEW", help="compare translators of different names, too"
    )
    parser.add_argument(
        "--tolerance", type=float, metavar="X", help="compare: a share by which figures may get worse (0)"
    )


def _study(options):
    if options.words[:1] == ["compare"]:
        return _compare(options)
    from astro_galtrans.study import load_study, run_study

    recipe = [*options.words, *([options.preset] if options.preset else [])]
    if len(recipe) != 1 or not options.output:
        options.parser.error("give one recipe, a file or --preset NAME, and the folder of the study, -o DIR")
    study = load_study(recipe[0], **given(options, "number", "training"))
    print(run_study(study, options.output, cache=options.cache, update=options.update))
    return 0


def _compare(options):
    from astro_galtrans.study import compare_studies
    from astro_galtrans.study.compare import verdict

    folders = options.words[1:]
    pairs = [name.split("=") for name in options.models]
    if len(folders) != 2 or any(len(pair) != 2 for pair in pairs):
        options.parser.error("give the folders of two studies: galtrans study compare OLD NEW [--models OLD=NEW ...]")
    table = compare_studies(*folders, models=dict(pairs), **given(options, "tolerance"))
    changed = table[table["change"] != ""]
    for name in ("old", "new", "difference", "error", "p"):
        changed[name].info.format = ".4g"
    if len(changed):
        changed.pprint(max_lines=-1, max_width=-1)
    if options.output:
        table.write(options.output, format="ascii.ecsv", overwrite=options.update)
    print(verdict(table))
    return WORSE if (table["change"] == "worse").any() else 0


COMMANDS = (_add_study,)
