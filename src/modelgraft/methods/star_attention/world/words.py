"""Adjectives and nouns for keys and word lists, chosen by hand.

No word is a part of another one, so a substring match on a model's reply cannot count the wrong
word; a test holds this.
"""

from __future__ import annotations

ADJECTIVES: tuple[str, ...] = tuple(
    """
abrupt absent acidic active adept alert alpine ample ancient angular anxious aquatic arctic arid
artful ashen astute atomic austere autumnal avid awkward azure balmy bashful beloved bitter
blazing bleak blithe blunt boastful bold bouncy boundless brave brazen breezy brief bright brisk
brittle bronze bruised bubbly bulky bumpy buoyant burly bustling calm candid careful carved casual
cautious charmed cheerful chilly chubby civic clammy classic clever cloudy clumsy coarse coastal
cobalt colossal comical compact concise content copper coral cordial cosmic cozy crafty cranky
creamy crimson crisp crooked crude cryptic cubic curious curly cyan daily dainty dapper daring
dashing dazzling decent deluxe dense devout diligent dim distant docile doleful dormant drab
dreamy drowsy dual dubious durable dusky dusty dynamic earnest eastern edible elastic elated
elegant elusive eminent endless enormous equal eternal exact exotic fabled faint faithful famous
fancy fearless feeble festive fickle fiery finite firm flaky fleet flexible floral fluent fluffy
foggy fond formal fragile frank frosty frozen frugal fuzzy gallant gaunt gentle genuine giddy
gifted glacial gleaming global gloomy glossy golden graceful grainy grand granular grateful gravel
greedy gritty grumpy gusty hardy harsh hasty hazel hazy heavy hefty helpful hidden hoarse hollow
homely honest huge humble humid hushed ideal idle immense indigo inland inner intact invisible
ivory jagged jaunty jovial joyful jubilant juicy keen kindly knotty lanky lavish lawful lazy leafy
lenient lilac limber limp liquid lively local lofty lonely loose loyal lucid lunar magenta
magnetic major mammoth marbled maroon massive mature mauve meager mellow merry metallic mighty
mild minor misty mobile modern modest moist molten moody mossy mottled muddy muffled murky
muscular musical mute mystic narrow native naval neat needy nervous neutral nimble noble nocturnal
noisy nomadic northern notable novel numb nutty obedient oblique obscure oceanic odd olive opaque
optimal ornate oval overcast pale paltry parched pastel patient peaceful pearly peculiar pensive
perky petite placid plain playful pleasant plucky plump plush pointy polar polite pompous portable
potent prickly prim pristine private prompt proper proud prudent puny quaint quick quiet quirky
radiant ragged rapid rare raspy rebel reckless refined regal remote resolute restful rigid robust
roomy rosy rotund rough rowdy royal rugged rural russet rustic sacred sandy sane sapphire savory
scarce scarlet scenic secret sedate serene severe shabby shady shaggy shallow sharp shiny shrewd
shy silent silken silvery simple sincere skillful sleek sleepy slender slick slim sly smoky smooth
snappy snowy snug sober solar solemn solid somber sonic sooty sour southern sparse speckled speedy
spicy spiral splendid spotted sprightly spruce square stale stark stately steady steep sterile
sticky stiff stocky stormy stout strict striped strong stubborn sturdy suave subtle sugary sulky
sunken superb supple swarthy swift tacit tame tangy tardy tart tawny tender tense tepid thankful
thirsty thorny thrifty tidal tidy timely timid tiny tireless topaz tranquil trim tropical trusty
tubular turquoise twin unique upbeat urgent useful utmost vacant vague valiant vapid vast velvet
verdant vibrant vigilant vintage violet virtual vital vivid vocal volatile wandering wary watchful
wavy waxen weary weird western whimsical wicked wild wily windy winged wintry wiry wise wistful
witty wobbly wooden woolly worthy yearly yellow youthful zealous zesty
""".split()
)

NOUNS: tuple[str, ...] = tuple(
    """
abacus acorn acrobat admiral agate airship alcove algebra almanac almond alpaca amulet anchor
anthem antler anvil apricot apron aqueduct arcade archive armor artist aspen asphalt atlas auction
avenue avocado axle badger bagel bakery balcony ballad bamboo banana bandage banjo banner barley
barrel basil basin basket battery bayou beacon beaver beetle bellows beret bicycle biscuit bison
blanket blossom blueprint boulder bouquet bracelet brass bread brick bridge broccoli broom bucket
buckle buffalo bugle bumper bureau butcher butter button cabbage cabin cactus camel camera campus
canary candle cannon canoe canvas canyon caravan cargo caribou carpet carriage carrot cashew
castle cauldron cavern cedar celery cello cement cereal chalice chalk chamber chapel chariot
cheetah cherry chest chimney chisel cider cinema cinnamon citadel clarinet clay cliff cloak clock
closet clover cobbler cobra cocoa coconut coffee comet compass condor copier cottage cotton cougar
coyote cradle crane crater crayon cricket crocodile crown crystal cuckoo cupboard curtain cushion
cyclone cymbal cypress dagger daisy dancer desert diamond diary diesel dinghy dolphin domino
donkey dragonfly drawer drum eagle echo eclipse elbow elephant elevator elk emerald engine
envelope escort estuary fabric factory falcon farmer feather fence fern ferret ferry fiddle fiesta
figurine finch flagpole flamingo flask fleece flute forest fossil fountain foxglove freighter
frigate fungus furnace galaxy galley gallon garlic garment garnet gazelle gecko geyser giraffe
glacier gladiator glider globe goblet goggles gondola gorilla gourd granite grapevine gravy
griddle grotto guava guitar gutter gymnast haddock hailstone halibut hammock hamper hamster harbor
harness harvest hatchet hawthorn hedgehog helmet hermit heron hickory highway hinge honey horizon
hornet hostel hummingbird hurdle hyacinth hydrant iceberg igloo iguana inkwell insect iris island
jackal jacket jaguar jasmine javelin jelly jersey jewel jigsaw journal jungle juniper kayak kelp
kennel kernel kettle keyboard kimono kingdom kiosk kite kiwi koala laboratory lacquer ladder ladle
lagoon lantern lapel larch lasso lathe lattice laundry lava lavender leather lectern ledger legend
lemon lentil leopard lettuce library lighthouse lily limestone lizard llama lobster locket locust
lotus lumber lynx macaw magpie mahogany mallet mandolin mango mantle maple marigold market marmot
marsh marten mattress meadow medal melon mermaid meteor microbe midnight mineral minnow mirror
mitten molecule monastery mongoose monsoon moose mosaic mosquito motor mountain muffin mulberry
museum mushroom mustard napkin narwhal nebula necklace needle nephew nettle nickel nightingale
notebook nozzle nursery nutmeg oasis oatmeal obelisk oboe ocelot octopus onion onyx opera orbit
orchard orchid oregano organist origami osprey ostrich outpost oven oyster paddle padlock pagoda
palace panda panther papaya paprika parade parasol parcel parrot parsley pasture pavilion peach
peacock pebble pelican pendulum penguin pepper perch perfume pheasant phoenix piano pickle pigeon
pillow pilot pineapple pinwheel pioneer pirate pistachio planet plaster plateau platypus plaza
pocket poet polecat pollen poncho popcorn poppy porcelain porcupine porridge portrait postcard
potato pottery poultry prairie pretzel prism puddle puffin pulley pumpkin puppet puzzle pyramid
python quail quarry quartz quill quilt quiver rabbit raccoon radish railway raisin ranger
raspberry raven ravine rebound recipe reef relic reptile reservoir rhubarb ribbon ripple river
robin rocket rooster rosemary rubble ruby rudder saddle saffron sailor salad salmon sandal satchel
satin saucer sausage sawmill saxophone scaffold scallop scarecrow scepter scholar schooner
scissors scooter scorpion sculptor seahorse sequoia shamrock shelter sheriff shovel shrimp shutter
sickle siren skeleton skylark sled slipper sloth smelter snail snorkel socket sofa sonnet sparrow
spatula sphinx spider spinach sponge spoon squash squid squirrel stable stadium staircase stapler
starfish statue stencil stirrup stool stork stove stream studio submarine suitcase summit sundial
sunset surgeon swallow swan sycamore symphony syrup tablet tadpole tailor tambourine tangerine
tapestry tavern teapot telescope temple tennis terrace theater thicket thimble thistle throne
thunder tiger timber toaster tomato torch tornado tortoise toucan tower tractor trampoline trapeze
treasure trellis tribune trident trombone trophy trout trumpet tugboat tulip tundra tunnel turban
turbine turnip turtle tuxedo umbrella unicorn utensil vacuum valley vanilla vault vessel viaduct
village vineyard violin volcano vulture waffle wagon waiter walnut walrus wardrobe warehouse
waterfall weasel whale wharf wheat whisker whistle wigwam willow windmill wizard wolf wombat
woodpecker workshop wren yacht yogurt zebra zeppelin zinnia zipper zodiac
""".split()
)
